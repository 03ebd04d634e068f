;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
[(line_comment) (block_comment)] @comment
[(string_literal) (character_literal)] @string
[(argument_list) (formal_parameters) (array_initializer)] @arguments
[(block) (class_body) (interface_body) (enum_body) (constructor_body) (switch_block)] @body
[(import_declaration) (package_declaration)] @import
(class_declaration name: (_) @name body: (_) @body) @scope
(interface_declaration name: (_) @name body: (_) @body) @scope
(enum_declaration name: (_) @name body: (_) @body) @scope
(record_declaration name: (_) @name body: (_) @body) @scope
(method_declaration name: (_) @name body: (_) @body) @scope
(constructor_declaration name: (_) @name body: (_) @body) @scope
(field_declaration declarator: (variable_declarator name: (_) @name)) @definition
[(method_declaration name: (_) @name) (enum_constant name: (_) @name)] @definition
