;;; lsp-mode.el --- infill in lsp-mode: grey text at the cursor, Tab accepts  -*- lexical-binding: t -*-

;; Put this into your init file (lsp-mode 10 or later). infill is an add-on: the language's own server stays.

(require 'lsp-mode)
(require 'lsp-inline-completion)

(lsp-register-client
 (make-lsp-client :new-connection (lsp-stdio-connection '("infill" "lsp"))
                  :activation-fn (lsp-activate-on "python" "rust")
                  :add-on? t
                  :server-id 'infill))
(add-hook 'python-mode-hook #'lsp-deferred)
(add-hook 'rust-mode-hook #'lsp-deferred)

;; lsp-mode waits two seconds before it asks; infill waits by itself while you type fast.
(setq lsp-idle-delay 0.1
      lsp-inline-completion-idle-delay 0.1)

;; C-<return> accepts in a window; a terminal cannot send it.
(keymap-set lsp-inline-completion-active-map "TAB" #'lsp-inline-completion-accept)

;; Tells infill what was accepted, for its counts (`infill/status').
(defun infill-accepted (text &rest _)
  (when-let* ((workspace (lsp-find-workspace 'infill)))
    (with-lsp-workspace workspace
      (lsp-notify "infill/outcome" (list :textDocument (lsp--text-document-identifier)
                                         :outcome "accepted"
                                         :text text)))))
(add-hook 'lsp-inline-completion-accepted-functions #'infill-accepted)
