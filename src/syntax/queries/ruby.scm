;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
(comment) @comment
[(string) (string_array) (heredoc_body) (regex)] @string
[(argument_list) (method_parameters) (array) (hash)] @arguments
[(body_statement) (block_body) (do_block) (then)] @body
(call method: (identifier) @_require (#match? @_require "^(require|require_relative)$")) @import
(class name: (_) @name body: (_) @body) @scope
(module name: (_) @name body: (_) @body) @scope
(method name: (_) @name body: (_) @body) @scope
(singleton_method name: (_) @name body: (_) @body) @scope
(assignment left: (constant) @name) @definition
