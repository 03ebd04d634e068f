;;; init.el --- what the tests set beside the snippets of editors/emacs  -*- lexical-binding: t -*-

;;     emacs -nw -Q -l init.el -l editors/emacs/eglot.el station/units.py      (ELPA: the folder of packages to use)

(setq native-comp-enable-subr-trampolines nil   ; there is no compiler beside an unpacked Emacs
      native-comp-jit-compilation nil
      inhibit-startup-screen t
      make-backup-files nil
      create-lockfiles nil
      confirm-kill-processes nil)

;; lsp-mode comes as a package; its clients of other servers are not loaded, and it asks nothing about the project.
(setq package-directory-list (list (getenv "ELPA"))
      package-user-dir (expand-file-name "elpa" user-emacs-directory)
      lsp-client-packages nil
      lsp-auto-guess-root t
      lsp-session-file (expand-file-name "lsp-session" user-emacs-directory))
(package-initialize)
