"""Stock Axolotl beside the Falcon plugin: the same run, on the same machine, one after another."""
