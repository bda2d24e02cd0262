"""What the console needs to show dashboards: answers for tiles, words, colours, the charts' JavaScript, images."""
