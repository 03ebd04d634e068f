---@brief
---
--- A language server for local code completion: it fills in the middle of your code as inline completion (LSP 3.18),
--- and as completion items for clients that cannot show ghost text. Nothing leaves the machine.
---
--- `infill` can be installed with `cargo install --path .` in its repository. A small model is inside the binary; name
--- another one on the command line:
--- ```lua
--- vim.lsp.config('infill', { cmd = { 'infill', 'lsp', '--model', vim.fn.expand('~/models/lite.gguf') } })
--- ```
---
--- On Neovim 0.12, enable |lsp-inline_completion| and map a key that accepts:
--- ```lua
--- vim.lsp.enable('infill')
--- vim.lsp.inline_completion.enable()
--- vim.keymap.set('i', '<Tab>', function()
---   if not vim.lsp.inline_completion.get() then
---     return '<Tab>'
---   end
--- end, { expr = true, desc = 'Accept the current inline completion' })
--- ```
---
--- The settings, as `infill config --schema` describes them:
--- ```lua
--- vim.lsp.config('infill', { settings = { infill = { completion = { lines = 'one' } } } })
--- ```

---@type vim.lsp.Config
return {
  cmd = { 'infill', 'lsp' },
  root_markers = { '.git' },
}
