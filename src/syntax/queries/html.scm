;; Captures: @comment @string @arguments @body @import, and @scope with its @name and @body (the header is what lies before the body).
(comment) @comment
[(quoted_attribute_value) (attribute_value)] @string
[(start_tag) (self_closing_tag)] @arguments
