;; Captures: @comment @string @arguments @body @import, and @scope with its @name and @body (the header is what lies before the body).
(comment) @comment
[(double_quote_scalar) (single_quote_scalar) (block_scalar)] @string
[(flow_sequence) (flow_mapping)] @arguments
