"""What a call does, whichever front door it came through: messages in, messages out, errors raised."""
