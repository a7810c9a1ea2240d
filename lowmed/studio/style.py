"""The look of the studio, on gradio's own colors, which follow light and dark."""

CSS = """
.gradio-container { width: 100% !important; max-width: 1240px !important; margin: 0 auto !important; }
.gradio-container > main { width: 100% !important; }
.lm-html:has(.prose:empty) { display: none; }
.lm-title h1 { margin: 0 0 .1rem; font-size: 1.5rem; overflow-wrap: anywhere; }
.lm-title p { margin: 0; color: var(--body-text-color); opacity: .72; }
.lm-output, .lm-facts, .lm-box, .lm-table, .lm-card { font-size: .875rem; line-height: 1.45; }
.lm-output { font-family: var(--font-mono); white-space: pre-wrap; overflow-wrap: anywhere; margin: .25rem 0;
  padding: .6rem .75rem; border: 1px solid var(--border-color-primary); border-radius: 6px;
  background: var(--background-fill-secondary); color: var(--body-text-color); }
.lm-scroll { max-height: 22rem; overflow: auto; }
.lm-box { margin: .25rem 0; padding: .6rem .75rem; border-radius: 6px; border: 1px solid var(--border-color-primary);
  border-left: 4px solid var(--color-accent); background: var(--background-fill-secondary); overflow-wrap: anywhere; }
.lm-error { border-left-color: #d1495b; }
.lm-error, .lm-facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem .9rem; }
.lm-facts { margin: .25rem 0; }
.lm-error dt, .lm-facts dt { color: var(--body-text-color); opacity: .72; }
.lm-error dd, .lm-facts dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.lm-frame { width: 100%; height: 70vh; border: 1px solid var(--border-color-primary); border-radius: 6px;
  background: #fff; color-scheme: light dark; }
.lm-table { overflow-x: auto; }
.lm-table table { border-collapse: collapse; width: 100%; border: 0; }
.lm-table tr, .lm-table thead, .lm-table tbody { border: 0 !important; }
.lm-table th, .lm-table td { text-align: left !important; padding: .3rem .9rem .3rem 0 !important;
  border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; white-space: nowrap; }
.lm-table th { color: var(--body-text-color); opacity: .72; font-weight: 500; }
.lm-table .lm-chosen td { font-weight: 600; }
.lm-bar { height: 8px; border-radius: 4px; background: var(--border-color-primary); overflow: hidden; margin: .3rem 0; }
.lm-bar div { height: 100%; background: var(--color-accent); }
.lm-curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: .5rem; }
.lm-curves svg { width: 100%; height: auto; color: var(--body-text-color); }
.lm-images img { display: block; width: 100%; max-height: 460px; object-fit: contain; margin: 0 0 .4rem; }
#chat-base .message img, #chat-tuned .message img { width: 120px !important; height: auto; min-width: 0; margin: 0;
  max-width: 100%; }
#chat-base .message img[alt="boxes"], #chat-tuned .message img[alt="boxes"] { width: 240px !important; }
.lm-curves figure { margin: 0; }
.lm-curves figcaption { font-size: .8rem; display: flex; flex-wrap: wrap; gap: 0 .8rem; overflow-wrap: anywhere; }
.lm-cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: .6rem; }
.lm-card { border: 1px solid var(--border-color-primary); border-radius: 6px; padding: .6rem .75rem;
  overflow-wrap: anywhere; }
.lm-card img { width: 160px; max-width: 100%; image-rendering: auto; border-radius: 4px; display: block; }
.lm-card p { margin: .25rem 0; white-space: pre-wrap; }
.lm-card .lm-small { color: var(--body-text-color); opacity: .72; }
.lm-html h3, .lm-html h4 { margin: .6rem 0 .2rem; font-size: 1rem; color: var(--body-text-color); }
"""
