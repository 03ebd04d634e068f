;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
(comment) @comment
(string) @string
[(argument_list) (parameters) (lambda_parameters) (list) (dictionary) (set) (tuple)] @arguments
(block) @body
[(import_statement) (import_from_statement) (future_import_statement)] @import
(function_definition name: (identifier) @name body: (block) @body) @scope
(class_definition name: (identifier) @name body: (block) @body) @scope
(module (expression_statement (assignment left: (identifier) @name)) @definition)
(class_definition body: (block (expression_statement (assignment left: (identifier) @name)) @definition))
