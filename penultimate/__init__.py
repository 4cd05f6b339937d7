"""penultimate: image transfer learning; `stages/` runs it, one thin module per DVC stage."""
