;; Captures: @comment @string @arguments @body @import, and @scope with its @name and @body (the header is what lies before the body).
[(comment) (js_comment)] @comment
(string_value) @string
(arguments) @arguments
(block) @body
(import_statement) @import
(rule_set (selectors) @name (block) @body) @scope
(media_statement (block) @body) @scope
