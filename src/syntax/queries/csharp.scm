;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
(comment) @comment
[(string_literal) (raw_string_literal) (verbatim_string_literal) (interpolated_string_expression) (character_literal)] @string
[(argument_list) (parameter_list) (bracketed_argument_list) (initializer_expression)] @arguments
[(block) (declaration_list) (enum_member_declaration_list) (accessor_list) (switch_body)] @body
(using_directive) @import
(class_declaration name: (_) @name body: (_) @body) @scope
(struct_declaration name: (_) @name body: (_) @body) @scope
(interface_declaration name: (_) @name body: (_) @body) @scope
(enum_declaration name: (_) @name body: (_) @body) @scope
(namespace_declaration name: (_) @name body: (_) @body) @scope
(method_declaration name: (_) @name body: (block) @body) @scope
(constructor_declaration name: (_) @name body: (block) @body) @scope
(field_declaration (variable_declaration (variable_declarator name: (_) @name))) @definition
[(property_declaration name: (_) @name) (method_declaration name: (_) @name) (delegate_declaration name: (_) @name)
 (record_declaration name: (_) @name) (enum_member_declaration name: (_) @name)] @definition
