ADDRESSES: list[str] = []
