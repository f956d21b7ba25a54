// SPDX-License-Identifier: Apache-2.0
// Moves the timeline's line with the player, and the player with a tap.
() => {
  const player = () => document.querySelector('#player video');
  const show = () => {
    const video = player(), timeline = document.querySelector('.timeline');
    if (!video || !timeline) return;
    const duration = Number(timeline.dataset.duration);
    const time = Math.min(video.currentTime, duration);
    const row = timeline.querySelector('.seconds');
    const left = row.offsetLeft + (row.offsetWidth * time) / duration;
    timeline.querySelector('i').style.left = `${left}px`;
    for (const words of timeline.querySelectorAll('.said span')) {
      const { start, end } = words.dataset;
      const last = Number(end) >= duration;
      words.classList.toggle('now', time >= start && (time < end || last));
    }
  };
  // Events of media do not bubble; more often than `timeupdate`.
  setInterval(show, 60);
  document.addEventListener('click', (event) => {
    const row = event.target.closest('.timeline .seconds'), video = player();
    if (!row || !video) return;
    const box = row.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    video.currentTime = share * Number(row.closest('.timeline').dataset.duration);
    show();
  });
}
