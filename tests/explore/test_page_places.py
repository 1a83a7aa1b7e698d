"""What an open place tells: its neighbours, its exact number, the mistake planted in it."""


def test_the_exact_number_follows_the_training(open_page):
    page = open_page("#place=hprebn")
    for _ in range(2):
        place = page.inner_text("#place .number h3").removeprefix("One number: ")
        right = page.evaluate("explorer.network.cotangents.dhprebn[explorer.view.place]")
        shown, number = page.locator(".readout").nth(1).inner_text().split(" = ")
        assert (shown, float(number.replace("−", "-"))) == (place, right)
        page.click("#one-step")


def test_links_lead_to_the_inputs_and_the_users_of_a_place(open_page):
    page = open_page("#place=loss")
    for name in ("logprobs", "probs", "counts", "norm_logits", "logits", "h", "hpreact", "bnraw"):
        page.click(f"#place .around .link >> text=/^{name}$/")
        assert page.inner_text("#place-title") == f"{name} and d{name}"
    page.click("[data-name=hprebn]")
    text = page.inner_text("#place .around")
    assert text == (
        "Made of embcat, W1, b1. Used by bnmeani, bndiff: its cotangent is collected from theirs."
    )
    page.mouse.move(0, 0)
    framed = page.locator(".tile.users").evaluate_all("(all) => all.map((t) => t.dataset.name)")
    assert framed == ["bnmeani", "bndiff"]


def test_a_planted_mistake_is_told_where_its_line_stands(open_page):
    page = open_page("#place=bnvar&mistake=bessel")
    assert not page.is_visible("#place .planted")
    page.click("[data-name=bndiff2]")
    wrong = page.evaluate("explorer.data.mistakes.find(({ name }) => name === 'bessel').wrong")
    assert wrong in page.inner_text("#place .planted")
    page.select_option("#mistake", "")
    assert not page.is_visible("#place .planted")
