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
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: .8rem;
  --s0: #1f6fd6; --s1: #c8641b; --s2: #2c8a57; --s3: #9a3fb0; --s4: #b8324a; --s5: #5d6b7a; }
.dark .charts { --s0: #7db0f5; --s1: #f0a05a; --s2: #63cb93; --s3: #d490e6; --s4: #f28a9c; --s5: #a3b0be; }
.charts .s0 { --c: var(--s0); } .charts .s1 { --c: var(--s1); } .charts .s2 { --c: var(--s2); }
.charts .s3 { --c: var(--s3); } .charts .s4 { --c: var(--s4); } .charts .s5 { --c: var(--s5); }
.chart { margin: 0; min-width: 0; } .chart figcaption { font-weight: 600; font-size: .85rem; }
.chart svg { width: 100%; height: auto; display: block; } .chart .tip, .chart .at { display: none; }
.chart text { font-size: 11px; fill: var(--body-text-color); opacity: .72; }
.chart .grid { stroke: var(--border-color-primary); }
.chart path { fill: none; stroke: var(--c); stroke-width: 1; opacity: .3; }
.chart path.trend { stroke-width: 2; opacity: 1; } .chart path.band { fill: var(--s0); stroke: none; opacity: .15; }
.chart .legend { display: flex; flex-wrap: wrap; gap: .1rem .8rem; font-size: .8rem; overflow-wrap: anywhere; }
.chart .legend i { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .25rem;
  background: var(--c); }
.lm-images img { display: block; width: 100%; max-height: 460px; object-fit: contain; margin: 0 0 .4rem; }
#chat-base .message img, #chat-tuned .message img { width: 120px !important; height: auto; min-width: 0; margin: 0;
  max-width: 100%; }
#chat-base .message img[alt="boxes"], #chat-tuned .message img[alt="boxes"] { width: 240px !important; }
.lm-cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: .6rem; }
.lm-card { border: 1px solid var(--border-color-primary); border-radius: 6px; padding: .6rem .75rem;
  overflow-wrap: anywhere; }
.lm-card img { width: 160px; max-width: 100%; image-rendering: auto; border-radius: 4px; display: block; }
.lm-card p { margin: .25rem 0; white-space: pre-wrap; }
.lm-card .lm-small { color: var(--body-text-color); opacity: .72; }
.lm-html h3, .lm-html h4 { margin: .6rem 0 .2rem; font-size: 1rem; color: var(--body-text-color); }
"""
