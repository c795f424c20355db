"""Take the README's screenshots of the page: docs/page.jpg and docs/page-phone.jpg.

PYTHONPATH=.:tests/support python -m tools.page_pictures
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from page_browser import ROOT, browser, served, visiting

WHO = "A rendered face"
EXAMPLE = f"#mm-examples [title='{WHO}']"
SMILING = """async () => {
  const video = document.querySelector('#mm-video video');
  video.pause();
  await new Promise((done) => { video.onseeked = done; video.currentTime = video.duration / 2; });
}"""
QUALITY = 85
MOST = 250_000  # bytes of a picture


def main() -> None:
    """Write both screenshots, with the current model."""
    desktop = {"viewport": {"width": 1280, "height": 1080}}
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    docs = ROOT / "docs"
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as page, browser() as chrome:
        with visiting(chrome, page.address, **desktop) as visitor:
            visitor.choose_example(EXAMPLE)
            visitor.render()
            visitor.wait_for("#mm-download")
            visitor.page.evaluate(SMILING)
            visitor.page.mouse.move(0, 0)
            visitor.page.screenshot(
                path=docs / "page.jpg", type="jpeg", quality=QUALITY, full_page=True, animations="disabled"
            )
        with visiting(chrome, page.address, **phone) as visitor:
            visitor.choose_example(EXAMPLE)
            visitor.page.evaluate("document.querySelectorAll('.mm-card')[1].scrollIntoView()")
            visitor.page.screenshot(
                path=docs / "page-phone.jpg", type="jpeg", quality=QUALITY, animations="disabled"
            )
    for picture in (docs / "page.jpg", docs / "page-phone.jpg"):
        size = picture.stat().st_size
        print(f"{picture.relative_to(ROOT)}: {size // 1000} kB")
        if size > MOST:
            raise SystemExit(f"{picture} is larger than {MOST // 1000} kB.")


if __name__ == "__main__":
    main()
