"""Durations and rates as people say them."""


def eta_text(seconds: float) -> str:
    """Return a duration: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes_rest = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_rest:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def rate_text(per_s: float) -> str:
    """Return a rate: `12.5/s`, or `5.5/min` where it is slower than one in a second."""
    return f"{per_s:.1f}/s" if per_s >= 1 else f"{60 * per_s:.1f}/min"
