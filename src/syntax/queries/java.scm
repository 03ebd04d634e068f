;; Captures: @comment @string @arguments @body @import, and @scope with its @name and @body (the header is what lies before the body).
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
