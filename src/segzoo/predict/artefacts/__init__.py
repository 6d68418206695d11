"""Networks made ready for a runtime: exported once, compared with torch, kept, and judged anew."""
