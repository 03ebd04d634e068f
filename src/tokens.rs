//! Tokenizer, FIM template, healing trie, streaming decode.
