"""Project directories: reading their files and applying them, through control's API or in this process."""
