"""What labels, distributors and podcasters send: read safely (`xml`), understood (`ern`, `podcast`, `lyrics`) and
decided upon (`decide`).
"""
