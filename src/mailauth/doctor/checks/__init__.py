"""One file for each thing that is looked at; whatever stands here is found and run, in the order that it asks for."""
