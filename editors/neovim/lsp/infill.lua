-- The configuration that Neovim 0.11 and later finds by name:
--
--   vim.lsp.enable('infill')
--   vim.lsp.config('infill', { settings = { infill = { completion = { lines = 'one' } } } })
return require('infill.server').config()
