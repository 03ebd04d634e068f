;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
(comment) @comment
[(string) (raw_string) (ansi_c_string) (heredoc_body)] @string
[(array) (subscript)] @arguments
[(compound_statement) (do_group)] @body
(function_definition name: (_) @name body: (_) @body) @scope
(program (variable_assignment name: (_) @name) @definition)
