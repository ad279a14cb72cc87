"""What a build would read of a file: columns, layout, example sets, and the rows that it would refuse."""
