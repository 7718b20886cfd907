"""The report in a real browser: nothing is asked of a network, nothing fails, nothing overflows, everything loads."""

import re
import shutil

import pytest

from noisette.report.page import TITLES
from noisette.workflows import report_prompts, report_samples
from noisette.workflows.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER TEST OF THE REPORT: Chromium is not installed")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(report_run, evaluated, tmp_path_factory):
    """The page of a finished run with an evaluation, and of one that was stopped before its first step."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_samples, "WATCHED", 10)
        patch.setattr(report_prompts, "EACH", 2)
        for state in ("finished", "begun"):
            folder = shutil.copytree(report_run, tmp_path_factory.mktemp("page") / state)
            if state == "finished":
                evaluated(folder)
            for name in ("best.safetensors", "last.safetensors", "metrics.jsonl"):
                if state == "begun":
                    (folder / name).unlink()
            made[state] = write_report(folder, device="cpu")
            shutil.rmtree(folder / "report")  # the page needs nothing beside it
    return made


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def width(request):
    return request.param


@pytest.fixture(params=["finished", "begun"])
def opened(browser, pages, request, width):
    """A page in the browser, with all that it asked for and all that it complained of."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme="dark", reduced_motion="reduce")
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("requestfailed", lambda request: page.complaints.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(pages[request.param].as_uri(), wait_until="load")
    page.state = request.param
    yield page
    page.close()


def test_it_loads_whole_without_a_network(opened):
    elsewhere = [url for url in opened.asked if not url.startswith(("data:", "file:"))]
    assert elsewhere == []
    assert len([url for url in opened.asked if url.startswith("file:")]) == 1  # the page itself
    assert opened.complaints == []
    images = opened.evaluate("[...document.images].map(image => [image.complete, image.naturalWidth, image.alt])")
    assert len(images) == {"finished": 8, "begun": 2}[opened.state]
    assert all(complete and wide > 0 and told for complete, wide, told in images)
    drawings = opened.evaluate("[...document.querySelectorAll('figure svg')].map(svg => svg.getBBox().width)")
    assert len(drawings) == {"finished": 17, "begun": 7}[opened.state]
    assert min(drawings) > 0


def test_nothing_overflows(opened, width):
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    assert opened.evaluate(f"{wide}.map(e => e.outerHTML.slice(0, 80))") == []


def test_every_link_of_the_contents_leads_to_its_section(opened):
    links = opened.evaluate(
        "[...document.querySelectorAll('nav a')].map(link => [link.textContent, "
        "document.querySelector(link.getAttribute('href') + ' h2').textContent])"
    )
    assert len(links) == len(TITLES)
    assert all(told == title for told, title in links)
    opened.locator("nav a").last.click()
    assert opened.evaluate(f"document.getElementById('{list(TITLES)[-1]}').getBoundingClientRect().top < innerHeight")


def test_texts_can_be_read_in_both_lights(opened):
    """Contrast of ink on paper, of text and of what a chart writes (WCAG 2.2: at least 4.5)."""
    for scheme in ("light", "dark"):
        opened.emulate_media(color_scheme=scheme)
        paper = opened.evaluate("getComputedStyle(document.body).backgroundColor")
        for place in ("p", "figcaption", "figure svg text", "th", "nav a"):
            style = "e => getComputedStyle(e)[e.closest('svg') ? 'fill' : 'color']"
            ink = opened.evaluate(f"({style})(document.querySelector('{place}'))")
            assert contrast(ink, paper) >= 4.5, (scheme, place, ink, paper)


def contrast(one: str, other: str) -> float:
    """Of two colours as `rgb(1, 2, 3)` (WCAG 2.2, relative luminance)."""

    def luminance(colour: str) -> float:
        values = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return sum(share * value for share, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_it_prints_in_light_on_a_few_pages(opened, width):
    opened.emulate_media(media="print", color_scheme="dark")
    assert opened.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()") == "#ffffff"
    printed = opened.pdf(prefer_css_page_size=True)
    assert printed.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 14
