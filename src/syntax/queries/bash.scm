;; Captures: @comment @string @arguments @body @import, and @scope with its @name and @body (the header is what lies before the body).
(comment) @comment
[(string) (raw_string) (ansi_c_string) (heredoc_body)] @string
[(array) (subscript)] @arguments
[(compound_statement) (do_group)] @body
(function_definition name: (_) @name body: (_) @body) @scope
