;;; eglot.el --- infill in eglot: grey text at the cursor, Tab accepts  -*- lexical-binding: t -*-

;; Put this into your init file (Emacs 30.1 or later; with Emacs 29 leave the second half out: M-TAB completes).
;; eglot talks to one server per buffer: infill takes the place of the language's own server. To have both, use lsp-mode.

(with-eval-after-load 'eglot
  (add-to-list 'eglot-server-programs
               '((python-mode python-ts-mode rust-mode rust-ts-mode) . ("infill" "lsp"))))
(add-hook 'python-mode-hook #'eglot-ensure)
(add-hook 'rust-mode-hook #'eglot-ensure)

;; Completions as you type, as grey text (part of Emacs 30).
(with-eval-after-load 'completion-preview
  ;; Behind "(" and " " too, where no word has begun.
  (setq completion-preview-minimum-symbol-length nil)
  (setq completion-preview-idle-delay 0.1))
(add-hook 'eglot-managed-mode-hook #'completion-preview-mode)
