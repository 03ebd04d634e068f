;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
(comment) @comment
[(string) (encapsed_string) (heredoc_body) (nowdoc_body)] @string
[(arguments) (formal_parameters) (array_creation_expression)] @arguments
[(compound_statement) (declaration_list) (enum_declaration_list) (match_block) (switch_block)] @body
(namespace_use_declaration) @import
(class_declaration name: (_) @name body: (_) @body) @scope
(interface_declaration name: (_) @name body: (_) @body) @scope
(trait_declaration name: (_) @name body: (_) @body) @scope
(enum_declaration name: (_) @name body: (_) @body) @scope
(function_definition name: (_) @name body: (_) @body) @scope
(method_declaration name: (_) @name body: (_) @body) @scope
(const_element (name) @name) @definition
(property_declaration (property_element name: (_) @name)) @definition
(method_declaration name: (_) @name) @definition
