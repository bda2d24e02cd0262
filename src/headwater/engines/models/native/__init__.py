"""Models as their own libraries run them. These modules are imported by workers, which have loaded the library."""
