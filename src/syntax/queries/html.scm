;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
(comment) @comment
[(quoted_attribute_value) (attribute_value)] @string
[(start_tag) (self_closing_tag)] @arguments
