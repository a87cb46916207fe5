-- Of the charted songs, which are cut short most often?
select
    artist,
    song,
    sum(followed_plays) as followed_plays,
    sum(cut_short_plays) as cut_short_plays,
    round(try_divide(sum(cut_short_plays), sum(followed_plays)), 3) as cut_short_share
from {{ target.schema }}_published.weekly_charts
where kind = 'song'
group by artist, song
having sum(followed_plays) >= 20
order by cut_short_share desc, followed_plays desc, artist, song
limit 10
