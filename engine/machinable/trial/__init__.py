"""One attempt of one trial: its code is loaded, its events run in order, and what it leaves behind is written."""
