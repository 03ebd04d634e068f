;; Captures: @comment @string @arguments @body @import, and @scope with its @name and @body (the header is what lies before the body).
(comment) @comment
[(interpreted_string_literal) (raw_string_literal) (rune_literal)] @string
[(argument_list) (parameter_list) (literal_value)] @arguments
[(block) (field_declaration_list) (interface_type)] @body
(import_declaration) @import
(function_declaration name: (_) @name body: (block) @body) @scope
(method_declaration name: (_) @name body: (block) @body) @scope
(type_spec name: (_) @name type: (struct_type (field_declaration_list) @body)) @scope
