;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
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
[(const_item name: (_) @name) (static_item name: (_) @name) (type_item name: (_) @name) (union_item name: (_) @name)
 (macro_definition name: (_) @name) (function_signature_item name: (_) @name) (struct_item name: (_) @name)
 (field_declaration name: (_) @name) (enum_variant name: (_) @name)] @definition
