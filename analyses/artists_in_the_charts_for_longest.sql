-- Which artists were among the hundred most played in most weeks?
select
    artist,
    count(*) as weeks,
    min(chart_rank) as best_rank,
    sum(plays) as plays
from {{ target.schema }}_published.weekly_charts
where kind = 'artist'
group by artist
order by weeks desc, plays desc, artist
limit 10
