;; Captures: @comment @string @arguments @body @import, and @scope with its @name and @body (the header is what lies before the body).
(comment) @comment
[(string_literal) (char_literal) (system_lib_string)] @string
[(argument_list) (parameter_list) (initializer_list)] @arguments
[(compound_statement) (field_declaration_list) (enumerator_list) (declaration_list)] @body
(preproc_include) @import
(function_definition declarator: (_) @name body: (compound_statement) @body) @scope
(struct_specifier name: (_) @name body: (_) @body) @scope
(enum_specifier name: (_) @name body: (_) @body) @scope
