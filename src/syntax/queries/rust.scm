;; Captures: @comment @string @arguments @body @import, and @scope with its @name and @body (the header is what lies before the body).
[(line_comment) (block_comment)] @comment
[(string_literal) (raw_string_literal) (char_literal)] @string
[(arguments) (parameters) (array_expression) (tuple_expression) (field_initializer_list) (token_tree)] @arguments
[(block) (declaration_list) (field_declaration_list) (enum_variant_list) (match_block)] @body
(use_declaration) @import
(function_item name: (_) @name body: (block) @body) @scope
(impl_item type: (_) @name body: (declaration_list) @body) @scope
(trait_item name: (_) @name body: (declaration_list) @body) @scope
(mod_item name: (_) @name body: (declaration_list) @body) @scope
(struct_item name: (_) @name body: (_) @body) @scope
(enum_item name: (_) @name body: (_) @body) @scope
