;; Captures: @comment @string @arguments @body @import, and @scope with its @name and @body (the header is what lies before the body).
(comment) @comment
[(string) (template_string) (regex)] @string
[(arguments) (formal_parameters) (array) (object)] @arguments
[(statement_block) (class_body) (switch_body)] @body
(import_statement) @import
(function_declaration name: (_) @name body: (_) @body) @scope
(generator_function_declaration name: (_) @name body: (_) @body) @scope
(class_declaration name: (_) @name body: (_) @body) @scope
(method_definition name: (_) @name body: (_) @body) @scope
(variable_declarator name: (_) @name value: (arrow_function body: (statement_block) @body)) @scope
