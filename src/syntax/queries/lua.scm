;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
(comment) @comment
(string) @string
[(arguments) (parameters) (table_constructor)] @arguments
(block) @body
(function_declaration name: (_) @name body: (block) @body) @scope
(variable_declaration
  (assignment_statement
    (expression_list value: (function_call name: (identifier) @_require)))
  (#eq? @_require "require")) @import
