;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
[(comment) (js_comment)] @comment
(string_value) @string
(arguments) @arguments
(block) @body
(import_statement) @import
(rule_set (selectors) @name (block) @body) @scope
(media_statement (block) @body) @scope
