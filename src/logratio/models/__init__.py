"""Loading, adapting and saving models: the only importer of transformers and peft."""
