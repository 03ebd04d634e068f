;; Captures: @comment @string @arguments @body @import, and @scope with its @name and @body (the header is what lies before the body).
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
