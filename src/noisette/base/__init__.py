"""What every layer stands on: errors, names, seeds, configs, files, shapes. Imports nothing of noisette's."""
