"""penultimate: one thin module per DVC stage; the parts they are made of live in `stages.core`."""
