;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
(comment) @comment
[(string_literal) (char_literal) (system_lib_string)] @string
[(argument_list) (parameter_list) (initializer_list)] @arguments
[(compound_statement) (field_declaration_list) (enumerator_list) (declaration_list)] @body
(preproc_include) @import
(function_definition declarator: (_) @name body: (compound_statement) @body) @scope
(struct_specifier name: (_) @name body: (_) @body) @scope
(enum_specifier name: (_) @name body: (_) @body) @scope
(declaration declarator: (function_declarator declarator: (identifier) @name)) @definition
(declaration declarator: (pointer_declarator declarator: (function_declarator declarator: (identifier) @name))) @definition
(translation_unit (declaration declarator: (init_declarator declarator: (identifier) @name)) @definition)
(type_definition declarator: (type_identifier) @name) @definition
[(preproc_def name: (_) @name) (preproc_function_def name: (_) @name) (enumerator name: (_) @name)] @definition
(field_declaration declarator: (field_identifier) @name) @definition
(field_declaration declarator: (pointer_declarator declarator: (field_identifier) @name)) @definition
