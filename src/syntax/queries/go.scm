;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
(comment) @comment
[(interpreted_string_literal) (raw_string_literal) (rune_literal)] @string
[(argument_list) (parameter_list) (literal_value)] @arguments
[(block) (field_declaration_list) (interface_type)] @body
(import_declaration) @import
(function_declaration name: (_) @name body: (block) @body) @scope
(method_declaration name: (_) @name body: (block) @body) @scope
(type_spec name: (_) @name type: (struct_type (field_declaration_list) @body)) @scope
(source_file (const_declaration (const_spec name: (_) @name) @definition))
(source_file (var_declaration (var_spec name: (_) @name) @definition))
[(type_spec name: (_) @name) (type_alias name: (_) @name) (field_declaration name: (_) @name) (method_elem name: (_) @name)] @definition
