;; Captures: @comment @string @arguments @body @import; @scope with its @name and @body (the header is what lies before the body);
;; @definition with its @name: what has no body of statements.
(comment) @comment
[(string) (template_string) (regex)] @string
[(arguments) (formal_parameters) (array) (object)] @arguments
[(statement_block) (class_body) (switch_body)] @body
(import_statement) @import
(program (lexical_declaration (variable_declarator value: (call_expression function: (identifier) @_require)) (#eq? @_require "require")) @import)
(function_declaration name: (_) @name body: (_) @body) @scope
(generator_function_declaration name: (_) @name body: (_) @body) @scope
(class_declaration name: (_) @name body: (_) @body) @scope
(method_definition name: (_) @name body: (_) @body) @scope
(variable_declarator name: (_) @name value: (arrow_function body: (statement_block) @body)) @scope
[(interface_body) (enum_body)] @body
(interface_declaration name: (_) @name body: (_) @body) @scope
(enum_declaration name: (_) @name body: (_) @body) @scope
(abstract_class_declaration name: (_) @name body: (_) @body) @scope
(internal_module name: (_) @name body: (_) @body) @scope
(program (lexical_declaration (variable_declarator name: (identifier) @name) @definition))
(program (export_statement (lexical_declaration (variable_declarator name: (identifier) @name) @definition)))
[(public_field_definition name: (_) @name) (property_signature name: (_) @name) (method_signature name: (_) @name)
 (type_alias_declaration name: (_) @name) (function_signature name: (_) @name) (abstract_method_signature name: (_) @name)] @definition
