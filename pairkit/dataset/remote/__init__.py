"""Built datasets elsewhere: on the Hugging Face Hub and on object stores."""
