;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
;; Prose is completed like a comment: to the end of the line. What is in a code fence is not prose.
[(paragraph) (html_block)] @comment
(code_fence_content) @body
